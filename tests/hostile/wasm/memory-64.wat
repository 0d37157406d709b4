;;| tries = "wants a memory of terabytes, with addresses of 64 bits"
;;| wasm = ["module_invalid", "memory_limit"]
(module
  (memory (export "memory") i64 0x4000000)
  (func (export "_start")))
