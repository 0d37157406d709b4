;;| tries = "asks for four gigabytes of random bytes, most of them beyond its memory"
;;| wasm = "task_failed"
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $random (i32.const 0) (i32.const -1)))))
