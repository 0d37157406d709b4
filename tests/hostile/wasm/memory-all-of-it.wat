;;| tries = "takes all the memory that it may have, writes to each page, and is content"
;;| wasm = "ok 1"
;;| limits = { memory_limit_bytes = 268435456 }
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "1")
  (func (export "_start")
    (drop (memory.grow (i32.const 4095)))
    (memory.fill (i32.const 65536) (i32.const 0x55) (i32.const 268369920))
    (i64.store (i32.const 0) (i64.const 0x100000010))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
