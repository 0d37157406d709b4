;;| tries = "throws an exception and catches it, for ever"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (memory (export "memory") 1)
  (tag $mine (param i64))
  (func $throw (throw $mine (i64.const 7)))
  (func (export "_start")
    (loop $forever
      (block $caught (result i64)
        (try_table (catch $mine $caught)
          (call $throw))
        (i64.const 0))
      (drop)
      (br $forever))))
