;;| tries = "never ends, in tail calls from function to function instead of a loop"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (memory (export "memory") 1)
  (func $ping (return_call $pong))
  (func $pong (return_call $ping))
  (func (export "_start") (call $ping)))
