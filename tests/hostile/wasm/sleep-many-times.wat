;;| tries = "waits for a million clocks at once, and for four billion"
;;| wasm = ["timeout", "task_failed", "memory_limit"]
;;| limits = { timeout = 5 }
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2048)
  (func (export "_start")
    (local $at i32)
    (loop $more
      (i32.store offset=16 (local.get $at) (i32.const 1))
      (i64.store offset=24 (local.get $at) (i64.const 0x7fffffffffffffff))
      (local.set $at (i32.add (local.get $at) (i32.const 48)))
      (br_if $more (i32.lt_u (local.get $at) (i32.const 48000000))))
    (loop $forever
      (drop (call $poll (i32.const 0) (i32.const 0x4000000) (i32.const -1) (i32.const 0x7fffff0)))
      (drop (call $poll (i32.const 0) (i32.const 0x4000000) (i32.const 1000000) (i32.const 0x7fffff0)))
      (br $forever))))
