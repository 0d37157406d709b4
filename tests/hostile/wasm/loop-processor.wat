;;| tries = "uses more processor time than it may"
;;| wasm = "cpu_limit: 0.4 seconds"
;;| limits = { cpu_limit_seconds = 0.4, timeout = 20 }
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $x i64)
    (loop $forever
      (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1)))
      (br_if $forever (i64.ne (local.get $x) (i64.const 0)))
      (br $forever))))
