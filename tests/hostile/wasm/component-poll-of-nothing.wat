;;| tries = "waits for nothing at all, and for handles that are not there"
;;| wasm = "task_failed"
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $memory (instantiate $memory))
  (core func $poll (canon lower (func $poll "poll") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core module $code
    (import "memory" "memory" (memory 1))
    (import "host" "poll" (func $poll (param i32 i32 i32)))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 64) (i32.const 0x7fffffff))
      (call $poll (i32.const 64) (i32.const 1) (i32.const 0))
      (call $poll (i32.const 64) (i32.const 0) (i32.const 0))
      (unreachable)))
  (core instance $guest (instantiate $code
    (with "memory" (instance $memory))
    (with "host" (instance (export "poll" (func $poll))))))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))
