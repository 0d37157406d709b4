;;| tries = "makes collected arrays of a gigabyte each"
;;| wasm = "task_failed"
;;| limits = { timeout = 10, memory_limit_bytes = 67108864 }
(module
  (type $bytes (array (mut i8)))
  (memory (export "memory") 1)
  (global $kept (mut (ref null $bytes)) (ref.null $bytes))
  (func (export "_start")
    (loop $more
      (global.set $kept (array.new_default $bytes (i32.const 0x40000000)))
      (br $more))))
