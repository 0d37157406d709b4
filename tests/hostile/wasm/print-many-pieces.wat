;;| tries = "prints a million pieces at once, which all are the same megabyte"
;;| wasm = "output_limit"
;;| limits = { timeout = 5 }
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 256)
  (func (export "_start")
    (local $at i32)
    (loop $more
      (i64.store (i32.add (i32.const 0x200000) (local.get $at)) (i64.const 0x10000000000000))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $more (i32.lt_u (local.get $at) (i32.const 8000000))))
    (loop $forever
      (drop (call $write (i32.const 1) (i32.const 0x200000) (i32.const 1000000) (i32.const 8)))
      (drop (call $write (i32.const 1) (i32.const 0x200000) (i32.const -1) (i32.const 8)))
      (br $forever))))
