;;| tries = "calls itself for ever through a table, in both directions of a pair"
;;| wasm = "task_failed: stack"
(module
  (memory (export "memory") 1)
  (type $nothing (func))
  (table funcref (elem $ping $pong))
  (func $ping (call_indirect (type $nothing) (i32.const 1)))
  (func $pong (call_indirect (type $nothing) (i32.const 0)) (call $ping))
  (func (export "_start") (call $ping)))
