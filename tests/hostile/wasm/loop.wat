;;| tries = "never ends"
;;| wasm = "timeout: Task execution timeout"
;;| limits = { timeout = 1 }
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $forever
      (br $forever))))
