;;| tries = "lets its table grow until it gets no more, and then asks again"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (func (export "_start")
    (loop $more
      (drop (table.grow $table (ref.null func) (i32.const 1000)))
      (drop (table.grow $table (ref.null func) (i32.const -1)))
      (br $more))))
