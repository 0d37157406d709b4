;;| tries = "keeps an endless list of collected objects, beside its memory"
;;| wasm = "memory_limit"
;;| limits = { timeout = 10, memory_limit_bytes = 67108864 }
(module
  (type $link (struct (field (ref null $link))))
  (memory (export "memory") 1)
  (global $chain (mut (ref null $link)) (ref.null $link))
  (func (export "_start")
    (loop $more
      (global.set $chain (struct.new $link (global.get $chain)))
      (br $more))))
