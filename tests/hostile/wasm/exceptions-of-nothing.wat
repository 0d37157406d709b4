;;| tries = "throws the reference to no exception"
;;| wasm = "task_failed"
(module
  (memory (export "memory") 1)
  (func (export "_start") (throw_ref (ref.null exn))))
