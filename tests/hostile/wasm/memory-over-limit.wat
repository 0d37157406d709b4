;;| tries = "wants a little more memory from the start than the task may have"
;;| wasm = "memory_limit: 16777216"
;;| limits = { memory_limit_bytes = 16777216 }
(module
  (memory (export "memory") 257)
  (func (export "_start")))
