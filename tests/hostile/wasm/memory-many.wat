;;| tries = "wants more than one memory"
;;| wasm = "module_invalid"
(module
  (memory (export "memory") 1)
  (memory 1)
  (memory 1)
  (func (export "_start")))
