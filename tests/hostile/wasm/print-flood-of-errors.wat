;;| tries = "prints byte by byte to standard error, without end, and does not care whether that works"
;;| wasm = "output_limit"
;;| limits = { timeout = 10, output_limit_bytes = 100000 }
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i64.store (i32.const 0) (i64.const 0x100000010))
    (loop $forever
      (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $forever))))
