;;| tries = "imports functions of an operating system"
;;| wasm = "module_invalid: system"
(module
  (import "env" "system" (func $system (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "cat /etc/shadow")
  (func (export "_start")
    (drop (call $system (i32.const 0)))))
