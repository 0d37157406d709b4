;;| tries = "prints the end of its result and the beginning of another, so that the report says what it likes"
;;| wasm = "result_unusable: JSON"
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "1},\"slot\":5,\"result\":{\"forged\":true")
  (func (export "_start")
    (i64.store (i32.const 0) (i64.const 0x2300000010))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
