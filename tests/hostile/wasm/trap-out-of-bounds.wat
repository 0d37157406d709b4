;;| tries = "reads and writes beyond its memory, at every distance that 32 bits can name"
;;| wasm = "task_failed"
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $at i32)
    (loop $on
      (i64.store offset=0xfffffff0 (local.get $at) (i64.const -1))
      (br_if $on (local.tee $at (i32.add (local.get $at) (i32.const 4096))))
      (drop (i64.load offset=65529 (i32.const 0))))))
