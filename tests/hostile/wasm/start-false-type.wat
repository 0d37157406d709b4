;;| tries = "exports something else than a function, and a function of another type, as what is called"
;;| wasm = ["module_invalid", "task_failed"]
(module
  (memory (export "_start") 1)
  (func (export "main") (param i64) (result i64) (local.get 0)))
