;;| tries = "asks for the folders that it was given, and looks whether there are any"
;;| wasm = "ok []"
(component
  (import "wasi:filesystem/types@0.2.0" (instance $files
    (export "descriptor" (type (sub resource)))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $given
    (alias outer 1 $descriptor (type $folder))
    (export "get-directories" (func (result (list (tuple (own $folder) string)))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
  (core instance $memory (instantiate $memory))
  (core func $folders (canon lower (func $given "get-directories") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core func $variables
    (canon lower (func $environment "get-environment") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core module $code
    (import "memory" "memory" (memory 1))
    (import "host" "folders" (func $folders (param i32)))
    (import "host" "variables" (func $variables (param i32)))
    (data (i32.const 16) "[]")
    (func (export "run") (param i32 i32 i32 i32) (result i32)
      (call $folders (i32.const 0))
      (if (i32.load (i32.const 4)) (then unreachable))
      (call $variables (i32.const 0))
      (if (i32.load (i32.const 4)) (then unreachable))
      (i32.store (i32.const 0) (i32.const 0))
      (i32.store (i32.const 4) (i32.const 16))
      (i32.store (i32.const 8) (i32.const 2))
      (i32.const 0)))
  (core instance $guest (instantiate $code
    (with "memory" (instance $memory))
    (with "host" (instance (export "folders" (func $folders)) (export "variables" (func $variables))))))
  (func (export "run") (param "function" string) (param "args-json" string) (result (result string (error string)))
    (canon lift (core func $guest "run") (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))
