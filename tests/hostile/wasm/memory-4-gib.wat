;;| tries = "wants 4 GiB of memory from the start"
;;| wasm = ["memory_limit", "module_invalid"]
(module
  (memory (export "memory") 65536)
  (func (export "_start")))
