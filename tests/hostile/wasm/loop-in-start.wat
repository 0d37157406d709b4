;;| tries = "never gets to its function: its start section does not end"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (memory (export "memory") 1)
  (func $start
    (loop $forever
      (br $forever)))
  (start $start)
  (func (export "_start")))
