;; Adds the whole numbers of a JSON array: a WASI command, written by hand.
;;
;; It shows all that a command is: it imports what it needs from WASI, exports its memory and a function `_start`, reads
;; its arguments from standard input and prints its result. The sum has 64 bits and begins again where those end.
;;
;;     wasm-tools parse sum.wat -o sum.wasm
;;     potluck cpu --module sum.wasm --args '[3, 4, -2]'
;;
;; The memory:
;;       0  a piece of memory for WASI to read into or to write from: its address (4 bytes) and its length (4 bytes)
;;       8  how many bytes WASI has read or written
;;      16  the text of an error
;;      64  the digits of the result, which are written from behind; they end at 96
;;    4096  the input, up to 4096 bytes at a time

(module
  ;; fd_read(stream, pieces, number of pieces, where to put the number of bytes) -> 0, or the number of an error
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  ;; fd_write: the same in the other direction
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  ;; proc_exit(code): ends the command and does not return
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;; One page of 64 KiB. WASI finds it by its name.
  (memory (export "memory") 1)

  ;; The text of the error: 35 bytes.
  (data (i32.const 16) "the arguments are no whole numbers\n")

  ;; Writes `length` bytes that begin at `address` to a stream: 1 is standard output, 2 is standard error.
  (func $write (param $stream i32) (param $address i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $address))      ;; the piece begins here
    (i32.store (i32.const 4) (local.get $length))       ;; and is this long
    (drop                                               ;; nobody is there to be told of a failure
      (call $fd_write (local.get $stream) (i32.const 0) (i32.const 1) (i32.const 8))))

  ;; Ends the command with exit code 1. The last line of standard error becomes the error of the task.
  (func $fail
    (call $write (i32.const 2) (i32.const 16) (i32.const 35))
    (call $proc_exit (i32.const 1)))

  ;; Reads more input to address 4096 and returns how many bytes there are; none means that the input has ended.
  (func $read (result i32)
    (i32.store (i32.const 0) (i32.const 4096))          ;; the piece begins here
    (i32.store (i32.const 4) (i32.const 4096))          ;; and is this long
    (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $fail)))                              ;; any number but 0 is an error
    (i32.load (i32.const 8)))                           ;; what WASI has counted

  ;; Whether a byte may stand between two numbers: white space (from 9 to 13, and 32), a comma or a bracket.
  (func $is_between (param $byte i32) (result i32)
    (i32.or
      (i32.or
        (i32.lt_u (i32.sub (local.get $byte) (i32.const 9)) (i32.const 5))
        (i32.eq (local.get $byte) (i32.const 32)))
      (i32.or
        (i32.eq (local.get $byte) (i32.const 44))       ;; ,
        (i32.or
          (i32.eq (local.get $byte) (i32.const 91))     ;; [
          (i32.eq (local.get $byte) (i32.const 93)))))) ;; ]

  ;; Prints a number and a line end.
  (func $print (param $number i64)
    (local $rest i64)                                   ;; what is left of the number, without its sign
    (local $address i32)                                ;; where the text begins so far
    (local.set $rest (local.get $number))
    (if (i64.lt_s (local.get $number) (i64.const 0))
      (then (local.set $rest (i64.sub (i64.const 0) (local.get $number)))))
    (local.set $address (i32.const 95))
    (i32.store8 (i32.const 95) (i32.const 10))          ;; the line end
    (loop $digit
      (local.set $address (i32.sub (local.get $address) (i32.const 1)))
      (i32.store8                                       ;; the last digit of the rest; 48 is "0"
        (local.get $address)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $rest) (i64.const 10)))))
      (local.set $rest (i64.div_u (local.get $rest) (i64.const 10)))
      (br_if $digit (i64.ne (local.get $rest) (i64.const 0))))
    (if (i64.lt_s (local.get $number) (i64.const 0))
      (then
        (local.set $address (i32.sub (local.get $address) (i32.const 1)))
        (i32.store8 (local.get $address) (i32.const 45)))) ;; -
    (call $write (i32.const 1) (local.get $address) (i32.sub (i32.const 96) (local.get $address))))

  ;; What a command is started by.
  (func (export "_start")
    (local $sum i64)
    (local $number i64)                                 ;; the digits of the current number so far
    (local $sign i64)                                   ;; 1, or -1 behind a minus
    (local $address i32)                                ;; the byte that is looked at
    (local $end i32)                                    ;; where the input that was read ends
    (local $byte i32)
    (local.set $sign (i64.const 1))
    (block $ended
      (loop $piece
        (local.set $address (i32.const 4096))
        (local.set $end (i32.add (i32.const 4096) (call $read)))
        (br_if $ended (i32.eq (local.get $end) (i32.const 4096)))
        (loop $next
          (local.set $byte (i32.load8_u (local.get $address)))
          (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 48)) (i32.const 10))
            (then                                       ;; a digit: number = number * 10 + digit
              (local.set $number
                (i64.add
                  (i64.mul (local.get $number) (i64.const 10))
                  (i64.extend_i32_u (i32.sub (local.get $byte) (i32.const 48))))))
            (else
              (if (i32.eq (local.get $byte) (i32.const 45))
                (then (local.set $sign (i64.const -1))) ;; a minus
                (else
                  (if (i32.eqz (call $is_between (local.get $byte)))
                    (then (call $fail)))                ;; a point, a quote or a letter is no whole number
                  (local.set $sum                       ;; the number has ended: sum = sum + sign * number
                    (i64.add (local.get $sum) (i64.mul (local.get $sign) (local.get $number))))
                  (local.set $number (i64.const 0))
                  (local.set $sign (i64.const 1))))))
          (local.set $address (i32.add (local.get $address) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $address) (local.get $end))))
        (br $piece)))
    (call $print (local.get $sum))))
