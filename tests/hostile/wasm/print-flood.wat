;;| tries = "prints 32 MiB at once, without end"
;;| wasm = "output_limit"
;;| limits = { timeout = 20 }
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 513)
  (func (export "_start")
    (i64.store (i32.const 0) (i64.const 0x200000000000010))
    (loop $forever
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $forever))))
