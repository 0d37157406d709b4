;;| tries = "prints a result that is nested a hundred thousand deep"
;;| wasm = "ok"
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start")
    (memory.fill (i32.const 16) (i32.const 0x5b) (i32.const 100000))
    (memory.fill (i32.const 100016) (i32.const 0x5d) (i32.const 100000))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 200000))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
