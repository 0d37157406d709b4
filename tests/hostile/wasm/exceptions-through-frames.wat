;;| tries = "throws through ten thousand frames, again and again"
;;| wasm = "timeout"
;;| limits = { timeout = 1 }
(module
  (memory (export "memory") 1)
  (tag $mine (param i32))
  (func $down (param $depth i32)
    (if (i32.eqz (local.get $depth)) (then (throw $mine (i32.const 7))))
    (call $down (i32.sub (local.get $depth) (i32.const 1))))
  (func (export "_start")
    (loop $forever
      (block $caught (result i32)
        (try_table (catch $mine $caught)
          (call $down (i32.const 10000)))
        (i32.const 0))
      (drop)
      (br $forever))))
