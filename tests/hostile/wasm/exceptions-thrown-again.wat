;;| tries = "throws each exception again from where it was caught, deeper and deeper, until the stack ends"
;;| wasm = "task_failed: stack"
(module
  (memory (export "memory") 1)
  (tag $mine)
  (func $again (param $exception exnref)
    (block $caught (result exnref)
      (try_table (catch_all_ref $caught)
        (throw_ref (local.get $exception)))
      (unreachable))
    (call $again))
  (func (export "_start")
    (block $caught (result exnref)
      (try_table (catch_all_ref $caught)
        (throw $mine))
      (unreachable))
    (call $again)))
