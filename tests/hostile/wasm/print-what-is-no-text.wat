;;| tries = "prints a result that is no text"
;;| wasm = "result_unusable: JSON"
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\"\ff\fe\00\c0\80\"")
  (func (export "_start")
    (i64.store (i32.const 0) (i64.const 0x700000010))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
