import type { Folders } from '../files/folders.ts'
import { isObject, type Json, type JsonObject } from '../json/python-json.ts'
import { PythonError } from '../json/python-numbers.ts'
import { pythonRepr, pythonStr, pythonTypeName } from '../json/python-text.ts'
import type { ClassTable, InputSpec } from '../nodes/class-table.ts'
import { checkLiteral } from './literal-check.ts'
import { inputError, type NodeErrors, type ValidationError } from './validation-error.ts'

/** The answer to a graph: what to run, or why not; `nodeErrors` may be there in both cases. */
export type ValidationResult =
  | { isValid: true; outputs: string[]; nodeErrors: NodeErrors }
  | { isValid: false; error: JsonObject; nodeErrors: NodeErrors }

/** What validation looks things up in. */
export interface ValidationDeps {
  classes: ClassTable
  folders: Folders
}

interface Verdict {
  isValid: boolean
  errors: ValidationError[]
}

const maxDepth = 320

/** Checks a graph as ComfyUI 0.3.64 does and casts its literals in place. Throws on what makes ComfyUI answer 500. */
export function validatePrompt(prompt: Json, targets: Json | undefined, deps: ValidationDeps): ValidationResult {
  if (Array.isArray(prompt) && prompt.length === 0) return refused('prompt_no_outputs', 'Prompt has no outputs', '')
  if (!isObject(prompt)) throw new PythonError('TypeError', `'${pythonTypeName(prompt)}' object is not a graph`)
  const missing = findMissingClass(prompt, deps.classes)
  if (missing) return missing
  const outputs = Object.keys(prompt).filter(id => isWanted(prompt, id, targets, deps.classes))
  if (outputs.length === 0) return refused('prompt_no_outputs', 'Prompt has no outputs', '')
  return validateOutputs(prompt, outputs, deps)
}

function findMissingClass(prompt: JsonObject, classes: ClassTable): ValidationResult | undefined {
  for (const [id, node] of Object.entries(prompt)) {
    if (node === null || typeof node !== 'object') {
      if (typeof node !== 'string') throw new PythonError('TypeError', 'argument is not iterable')
    }
    const details = `Node ID '#${id}'`
    if (!isObject(node) || !Object.hasOwn(node, 'class_type')) {
      return refused('invalid_prompt', 'Cannot execute because a node is missing the class_type property.', details)
    }
    const name = node.class_type as Json
    if (typeof name === 'object' && name !== null) throw new PythonError('TypeError', 'unhashable type')
    if (typeof name !== 'string' || !classes.get(name)) {
      return refused('invalid_prompt', `Cannot execute because node ${pythonStr(name)} does not exist.`, details)
    }
  }
  return undefined
}

function isWanted(prompt: JsonObject, id: string, targets: Json | undefined, classes: ClassTable): boolean {
  const node = prompt[id] as JsonObject
  if (!classes.isOutput(node.class_type as string)) return false
  return targets === undefined || targets === null || (Array.isArray(targets) && targets.includes(id))
}

function validateOutputs(prompt: JsonObject, outputs: string[], deps: ValidationDeps): ValidationResult {
  const verdicts = new Map<string, Verdict>()
  const nodeErrors: NodeErrors = {}
  const good: string[] = []
  const reasons: string[] = []
  for (const id of outputs) {
    const verdict = validateOutput(prompt, id, deps, verdicts)
    verdicts.set(id, verdict)
    if (verdict.isValid) {
      good.push(id)
      continue
    }
    reasons.push(...verdict.errors.map(error => `${error.message}: ${error.details}`))
    collectErrors(prompt, id, verdicts, nodeErrors)
  }
  if (good.length > 0) return { isValid: true, outputs: good, nodeErrors }
  const failed = 'prompt_outputs_failed_validation'
  return { ...refused(failed, 'Prompt outputs failed validation', reasons.join('\n')), nodeErrors }
}

function collectErrors(prompt: JsonObject, output: string, verdicts: Map<string, Verdict>, errors: NodeErrors): void {
  for (const [id, verdict] of verdicts) {
    if (verdict.isValid || verdict.errors.length === 0) continue
    const known = errors[id] ?? {
      errors: verdict.errors,
      dependent_outputs: [],
      class_type: (prompt[id] as JsonObject).class_type as string
    }
    known.dependent_outputs.push(output)
    errors[id] = known
  }
}

function validateOutput(prompt: JsonObject, id: string, deps: ValidationDeps, verdicts: Map<string, Verdict>): Verdict {
  try {
    return new NodeValidator(prompt, deps, verdicts).validate(id, 0)
  } catch (error) {
    const { type, message } = asPython(error)
    const extra = { exception_type: type, traceback: [`  File "execution.py", in validate_prompt\n    ${message}\n`] }
    const reason = { type: 'exception_during_validation', message: 'Exception when validating node' }
    return { isValid: false, errors: [{ ...reason, details: message, extra_info: extra }] }
  }
}

class NodeValidator {
  readonly #prompt: JsonObject
  readonly #deps: ValidationDeps
  readonly #verdicts: Map<string, Verdict>

  constructor(prompt: JsonObject, deps: ValidationDeps, verdicts: Map<string, Verdict>) {
    this.#prompt = prompt
    this.#deps = deps
    this.#verdicts = verdicts
  }

  validate(id: string, depth: number): Verdict {
    const known = this.#verdicts.get(id)
    if (known) return known
    if (depth > maxDepth) throw new PythonError('RecursionError', 'maximum recursion depth exceeded')
    const node = this.#prompt[id] as JsonObject
    const inputs = nodeInputs(node)
    const className = node.class_type as string
    const behaviour = this.#deps.classes.get(className)?.behaviour
    const validation = behaviour?.validation
    const receivedTypes: JsonObject = {}
    const verdict: Verdict = { isValid: true, errors: [] }
    for (const spec of this.#deps.classes.inputsOf(className)) {
      if (!Object.hasOwn(inputs, spec.name)) {
        if (spec.isRequired) verdict.errors.push(missingInput(spec.name))
        continue
      }
      const value = inputs[spec.name] as Json
      if (Array.isArray(value)) {
        if (!this.#validateLink(spec, value, depth, verdict, receivedTypes, validation?.takesTypes === true)) continue
      } else {
        const takenOver = validation !== undefined && (!validation.inputs || validation.inputs.includes(spec.name))
        const error = checkLiteral(spec, inputs, takenOver)
        if (error) verdict.errors.push(error)
      }
    }
    if (validation) this.#validateSelf(className, inputs, receivedTypes, verdict)
    const final = { isValid: verdict.isValid && verdict.errors.length === 0, errors: verdict.errors }
    this.#verdicts.set(id, final)
    return final
  }

  #validateLink(
    spec: InputSpec,
    value: Json[],
    depth: number,
    verdict: Verdict,
    receivedTypes: JsonObject,
    takesTypes: boolean
  ): boolean {
    if (value.length !== 2) {
      const message = 'Bad linked input, must be a length-2 list of [node_id, slot_index]'
      verdict.errors.push(inputError('bad_linked_input', message, spec, spec.name, { received_value: value }))
      return false
    }
    const received = this.#receivedType(value)
    receivedTypes[spec.name] = received
    if (!takesTypes && !isFitting(received, spec.type)) {
      const details = `${spec.name}, received_type(${pythonStr(received)}) mismatch input_type(${pythonStr(spec.type)})`
      const message = 'Return type mismatch between linked nodes'
      const extra = { received_type: received, linked_node: value }
      verdict.errors.push(inputError('return_type_mismatch', message, spec, details, extra))
      return false
    }
    if (!this.#validateSource(spec, value, depth)) verdict.isValid = false
    return true
  }

  #validateSource(spec: InputSpec, link: Json[], depth: number): boolean {
    try {
      return this.validate(link[0] as string, depth + 1).isValid
    } catch (error) {
      const { type, message } = asPython(error)
      const extra = {
        exception_message: message,
        exception_type: type,
        traceback: [`  File "execution.py", in validate_inputs\n    ${message}\n`],
        linked_node: link
      }
      const title = 'Exception when validating inner node'
      const reason = inputError('exception_during_inner_validation', title, spec, message, extra)
      this.#verdicts.set(link[0] as string, { isValid: false, errors: [reason] })
      return false
    }
  }

  #receivedType(link: Json[]): Json {
    const [source, slot] = link as [Json, Json]
    if (source !== null && typeof source === 'object') throw new PythonError('TypeError', 'unhashable type')
    const node = typeof source === 'string' ? this.#prompt[source] : undefined
    if (!isObject(node)) throw new PythonError('KeyError', pythonRepr(source))
    const types = this.#deps.classes.outputTypes(node.class_type as string)
    if (typeof slot !== 'number') {
      const message = `tuple indices must be integers or slices, not ${pythonTypeName(slot)}`
      throw new PythonError('TypeError', message)
    }
    const type = types.at(slot)
    if (type === undefined) throw new PythonError('IndexError', 'tuple index out of range')
    return type
  }

  #validateSelf(className: string, inputs: JsonObject, receivedTypes: JsonObject, verdict: Verdict): void {
    const validation = this.#deps.classes.get(className)?.behaviour.validation
    if (!validation) return
    const specs = this.#deps.classes.inputsOf(className).filter(spec => Object.hasOwn(inputs, spec.name))
    const checked = specs.filter(spec => !validation.inputs || validation.inputs.includes(spec.name))
    const literal = checked.filter(spec => !Array.isArray(inputs[spec.name]))
    if (literal.length === 0 && !validation.takesTypes) return
    const values = Object.fromEntries(literal.map(spec => [spec.name, inputs[spec.name]]))
    const result = validation.check({ ...values, input_types: receivedTypes }, this.#deps.folders)
    if (result === true) return
    for (const spec of checked) verdict.errors.push(customError(spec.name, `${spec.name} - ${result}`))
  }
}

function nodeInputs(node: JsonObject): JsonObject {
  if (!Object.hasOwn(node, 'inputs')) throw new PythonError('KeyError', "'inputs'")
  if (isObject(node.inputs)) return node.inputs
  const message = `argument of type '${pythonTypeName(node.inputs as Json)}' is not iterable`
  throw new PythonError('TypeError', message)
}

function missingInput(name: string): ValidationError {
  const message = 'Required input is missing'
  return { type: 'required_input_missing', message, details: name, extra_info: { input_name: name } }
}

function customError(name: string, details: string): ValidationError {
  const message = 'Custom validation failed for node'
  return { type: 'custom_validation_failed', message, details, extra_info: { input_name: name } }
}

function isFitting(received: Json, wanted: Json): boolean {
  if (received === '*' || wanted === '*') return true
  if (typeof received === 'string' && typeof wanted === 'string') {
    const offers = received.split(',')
    return received === wanted || wanted.split(',').some(type => offers.includes(type))
  }
  const isCombo = (type: Json) => Array.isArray(type) || type === 'COMBO'
  return isCombo(received) && isCombo(wanted)
}

function asPython(error: unknown): { type: string; message: string } {
  if (error instanceof PythonError) return { type: error.type, message: error.message }
  return { type: 'Exception', message: error instanceof Error ? error.message : String(error) }
}

function refused(type: string, message: string, details: string): ValidationResult & { isValid: false } {
  return { isValid: false, error: { type, message, details, extra_info: {} }, nodeErrors: {} }
}
