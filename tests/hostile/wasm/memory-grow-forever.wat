;;| tries = "asks for more memory for ever, although it gets none"
;;| wasm = "timeout"
;;| limits = { timeout = 1, memory_limit_bytes = 67108864 }
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (drop (memory.grow (i32.const 1)))
      (drop (memory.grow (i32.const 65535)))
      (br $more))))
