;;| tries = "lets its memory grow, and writes to all of it, until it gets no more"
;;| wasm = "memory_limit: 67108864"
;;| limits = { memory_limit_bytes = 67108864 }
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $page i32)
    (loop $more
      (local.set $page (memory.grow (i32.const 1)))
      (if (i32.eq (local.get $page) (i32.const -1)) (then unreachable))
      (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1) (i32.const 65536))
      (br $more))))
