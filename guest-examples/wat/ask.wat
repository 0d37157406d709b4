;; Sends its only argument to the node and returns the reply: a component of the world `guest-with-node`, written by hand.
;;
;; It shows all that it takes to call the node: the interface is imported by its name, and its one function takes a text
;; and returns one, or another one when it failed. This guest returns either as it is.
;;
;;     wasm-tools parse ask.wat -o ask.wasm
;;     potluck cpu --module ask.wasm --args '[{"type": "GET_MEM", "key": "greeting"}]'

(component
  (import "potluck:guest/node@0.1.0"
    (instance $node
      (export "call" (func (param "message" string) (result (result string (error string)))))))

  ;; Where texts from outside go. A module of its own, because it must be there before `call` can be used.
  (core module $room
    (memory (export "memory") 1)
    ;; The first free byte. A result is at 0: 12 bytes, which are explained below.
    (global $free (mut i32) (i32.const 16))

    ;; Room for a text; nothing is ever given back, since the instance is gone when the call has ended.
    (func (export "allocate") (param $old i32) (param $old-bytes i32) (param $alignment i32) (param $bytes i32)
      (result i32)
      (local $place i32)
      (local.set $place (global.get $free))
      (global.set $free (i32.add (local.get $place) (local.get $bytes)))
      (block $enough
        (loop $grow
          (br_if $enough (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
          (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
          ;; There is no more memory: the node says so.
          (unreachable)))
      (local.get $place)))
  (core instance $room (instantiate $room))
  (alias core export $room "memory" (core memory $memory))
  (alias core export $room "allocate" (core func $allocate))

  ;; The node's function, as a module sees it: address and length of the message, and where to put the result.
  (core func $call (canon lower (func $node "call") (memory $memory) (realloc $allocate)))

  (core module $ask
    (import "node" "call" (func $call (param i32 i32 i32)))
    ;; The arguments are `[MESSAGE]`: what is sent is what is between the brackets. The result of `call` has the form of
    ;; our own: 0 for a reply or 1 for an error, then at 4 where its text is, and at 8 how long.
    (func (export "run") (param $function i32) (param $function-bytes i32) (param $args i32) (param $args-bytes i32)
      (result i32)
      (call $call
        (i32.add (local.get $args) (i32.const 1))
        (i32.sub (local.get $args-bytes) (i32.const 2))
        (i32.const 0))
      (i32.const 0)))
  (core instance $ask (instantiate $ask (with "node" (instance (export "call" (func $call))))))
  (alias core export $ask "run" (core func $run))

  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $allocate))))
