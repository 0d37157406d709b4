;; The trivial guest as a command of WASI preview 1: the square of the only number on its standard input.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; At 0: where the text is and how long, for both calls; at 8: how much of it was read or written.
  (func (export "_start")
    (local $at i32) (local $end i32) (local $digit i32) (local $number i64) (local $text i32)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 1024))
    (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (local.set $at (i32.const 1024))
    (local.set $end (i32.add (local.get $at) (i32.load (i32.const 8))))
    (block $read
      (loop $next
        (br_if $read (i32.eq (local.get $at) (local.get $end)))
        (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
        (if (i32.lt_u (local.get $digit) (i32.const 10))
          (then
            (local.set $number
              (i64.add (i64.mul (local.get $number) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.set $number (i64.mul (local.get $number) (local.get $number)))
    ;; Digits are written from the last to the first, up to 1024.
    (local.set $text (i32.const 1024))
    (loop $write
      (local.set $text (i32.sub (local.get $text) (i32.const 1)))
      (i32.store8 (local.get $text)
        (i32.add (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))) (i32.const 48)))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $write (i64.ne (local.get $number) (i64.const 0))))
    (i32.store (i32.const 0) (local.get $text))
    (i32.store (i32.const 4) (i32.sub (i32.const 1024) (local.get $text)))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))
