;;| tries = "makes timers without end and keeps them all"
;;| wasm = "task_failed"
;;| limits = { timeout = 10 }
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $timer))
    (export "subscribe-duration" (func (param "when" u64) (result (own $timer))))))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $memory (instantiate $memory))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $code
    (import "memory" "memory" (memory 1))
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (loop $forever
        (drop (call $subscribe (i64.const 0x7fffffffffffffff)))
        (br $forever))
      (unreachable)))
  (core instance $guest (instantiate $code
    (with "memory" (instance $memory))
    (with "host" (instance (export "subscribe" (func $subscribe))))))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))
