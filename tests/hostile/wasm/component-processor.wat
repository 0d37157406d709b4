;;| tries = "uses more processor time than it may, as a component"
;;| wasm = "cpu_limit: 0.4 seconds"
;;| limits = { cpu_limit_seconds = 0.4, timeout = 20 }
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (loop $forever (br $forever)) (unreachable)))
  (core instance $guest (instantiate $code))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $guest "memory")) (realloc (core func $guest "realloc")))))
