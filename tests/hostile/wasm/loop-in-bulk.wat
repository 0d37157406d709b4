;;| tries = "spends its time in single instructions that move 64 MiB each"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (memory (export "memory") 1024)
  (func (export "_start")
    (loop $forever
      (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x4000000))
      (memory.copy (i32.const 1) (i32.const 0) (i32.const 0x3ffffff))
      (br $forever))))
