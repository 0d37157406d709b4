;;| tries = "sleeps for five hundred years"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    ;; One subscription: a clock, the monotonic one, and nanoseconds.
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 0x7fffffffffffffff))
    (loop $forever
      (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 96)))
      (br $forever))))
