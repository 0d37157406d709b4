;;| tries = "asks for the time for ever, so that it is hardly ever in code of its own"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $forever
      (drop (call $time (i32.const 0) (i64.const 0) (i32.const 0)))
      (drop (call $time (i32.const 1) (i64.const 0) (i32.const 0)))
      (drop (call $yield))
      (br $forever))))
