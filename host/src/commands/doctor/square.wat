;; The smallest command that takes part: it reads `[7]` on standard input and prints `49`. One digit from 4 to 9 is all
;; that it can square.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (func (export "_start") (local $x i32)
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)))
    (local.set $x (i32.sub (i32.load8_u (i32.const 17)) (i32.const 48)))
    (local.set $x (i32.mul (local.get $x) (local.get $x)))
    (i32.store8 (i32.const 16) (i32.add (i32.div_u (local.get $x) (i32.const 10)) (i32.const 48)))
    (i32.store8 (i32.const 17) (i32.add (i32.rem_u (local.get $x) (i32.const 10)) (i32.const 48)))
    (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 32))))
  (memory (export "memory") 1)
  ;; What to read and what to write: 16 bytes and 2 bytes, both at 16.
  (data (i32.const 0) "\10\00\00\00\10\00\00\00\10\00\00\00\02\00\00\00"))
