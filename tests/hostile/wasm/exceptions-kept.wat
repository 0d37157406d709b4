;;| tries = "keeps every exception that it throws, in references"
;;| wasm = "memory_limit"
;;| limits = { timeout = 5, memory_limit_bytes = 67108864 }
(module
  (memory (export "memory") 1)
  (tag $mine)
  (table $kept 40000 exnref)
  (func (export "_start")
    (local $at i32)
    (loop $forever
      (block $caught (result exnref)
        (try_table (catch_all_ref $caught)
          (throw $mine))
        (unreachable))
      (drop)
      (local.set $at (i32.rem_u (i32.add (local.get $at) (i32.const 1)) (i32.const 40000)))
      (br $forever))))
