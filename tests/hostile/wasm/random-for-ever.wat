;;| tries = "asks for random bytes, a million each time, for ever"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 16)
  (func (export "_start")
    (loop $forever
      (drop (call $random (i32.const 0) (i32.const 1000000)))
      (drop (call $random (i32.const 0) (i32.const 1)))
      (br $forever))))
