;;| tries = "reads its input for ever, long after the end"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i64.store (i32.const 0) (i64.const 0x100000000100))
    (loop $forever
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $forever))))
