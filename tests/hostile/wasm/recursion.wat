;;| tries = "calls itself for ever"
;;| wasm = "task_failed: stack"
(module
  (memory (export "memory") 1)
  (func $again (export "_start")
    (call $again)
    (call $again)))
