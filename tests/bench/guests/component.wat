;; The trivial guest as a component of the world in sdk/wit/guest.wit: the square of the only number in its arguments.
(component
  (core module $square
    (memory (export "memory") 1)
    ;; Where the next text from outside goes.
    (global $free (mut i32) (i32.const 1024))

    ;; Room for a text, which needs no alignment. There are two short ones in an instance's life.
    (func (export "allocate") (param i32 i32 i32) (param $bytes i32) (result i32)
      (global.set $free (i32.add (global.get $free) (local.get $bytes)))
      (i32.sub (global.get $free) (local.get $bytes)))

    ;; The result is at 0: the case of a result<string, string>, then where its text is and how long.
    (func (export "run") (param $function i32) (param $function-bytes i32) (param $args i32) (param $args-bytes i32)
      (result i32)
      (local $digit i32) (local $number i64) (local $text i32)
      (block $read
        (loop $next
          (br_if $read (i32.eqz (local.get $args-bytes)))
          (local.set $digit (i32.sub (i32.load8_u (local.get $args)) (i32.const 48)))
          (if (i32.lt_u (local.get $digit) (i32.const 10))
            (then
              (local.set $number
                (i64.add (i64.mul (local.get $number) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))))
          (local.set $args (i32.add (local.get $args) (i32.const 1)))
          (local.set $args-bytes (i32.sub (local.get $args-bytes) (i32.const 1)))
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
      (i32.store (i32.const 4) (local.get $text))
      (i32.store (i32.const 8) (i32.sub (i32.const 1024) (local.get $text)))
      (i32.const 0)))

  (core instance $square (instantiate $square))
  (alias core export $square "memory" (core memory $memory))
  (alias core export $square "allocate" (core func $allocate))
  (alias core export $square "run" (core func $run))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $allocate))))
