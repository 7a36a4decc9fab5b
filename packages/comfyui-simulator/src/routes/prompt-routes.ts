import { empty, json } from '../http/reply.ts'
import type { Route } from '../http/router.ts'
import { isObject, type Json } from '../json/python-json.ts'
import { PythonError, toInt } from '../json/python-numbers.ts'
import { isTruthy, pythonTypeName } from '../json/python-text.ts'
import type { ServerContext } from '../server/server-context.ts'

/** Submitting, listing, cancelling and remembering prompts. */
export function promptRoutes(context: ServerContext): Route[] {
  const { core, faults } = context
  return [
    ['GET', '/prompt', () => json({ exec_info: { queue_remaining: core().queue.remaining } })],
    [
      'POST',
      '/prompt',
      async request => {
        const body = await request.json()
        if (faults.take('wrong-validation')) return json(wronglyRefused(body), 400)
        const { status, body: answer } = core().submit(body)
        const late = faults.take('late-prompt-answer')
        if (late) await delay(late.ms ?? 1000)
        return json(answer, status)
      }
    ],
    ['GET', '/queue', () => json(core().queue.snapshot())],
    [
      'POST',
      '/queue',
      async request => {
        const body = objectOf(await request.json())
        if (isTruthy(body.clear)) core().queue.clear()
        for (const id of listOf(body.delete)) core().queue.delete(String(id))
        return empty()
      }
    ],
    [
      'POST',
      '/interrupt',
      async request => {
        const body = objectOf(await jsonOrEmpty(request))
        const id = body.prompt_id
        if (!isTruthy(id) || core().queue.isRunning(String(id))) core().interrupts.request()
        return empty()
      }
    ],
    [
      'POST',
      '/free',
      async request => {
        const body = objectOf(await request.json())
        core().free(isTruthy(body.unload_models), isTruthy(body.free_memory))
        return empty()
      }
    ]
  ]
}

/** Finished prompts. */
export function historyRoutes({ core }: ServerContext): Route[] {
  return [
    [
      'GET',
      '/history',
      request => {
        const maxItems = wholeNumber(request.query.get('max_items'))
        const offset = wholeNumber(request.query.get('offset'))
        return json(core().history.window(maxItems, offset))
      }
    ],
    [
      'GET',
      '/history/{}',
      request => {
        const id = request.params[0] as string
        const entry = core().history.get(id)
        return json(entry ? new Map([[id, entry]]) : {})
      }
    ],
    [
      'POST',
      '/history',
      async request => {
        const body = objectOf(await request.json())
        if (isTruthy(body.clear)) core().history.clear()
        for (const id of listOf(body.delete)) core().history.delete(String(id))
        return empty()
      }
    ]
  ]
}

async function jsonOrEmpty(request: { json(): Promise<Json> }): Promise<Json> {
  try {
    return await request.json()
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

function objectOf(body: Json): Record<string, Json> {
  if (isObject(body)) return body
  throw new PythonError('AttributeError', `'${pythonTypeName(body)}' object has no attribute 'get'`)
}

function listOf(value: Json | undefined): Json[] {
  if (value === undefined) return []
  if (Array.isArray(value)) return value
  throw new PythonError('TypeError', 'object is not iterable')
}

function wholeNumber(text: string | null): number | undefined {
  return text === null ? undefined : Number(toInt(text))
}

function delay(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

function wronglyRefused(body: Json): unknown {
  const prompt = isObject(body) && isObject(body.prompt) ? body.prompt : {}
  const [id, node]: [string, Json] = Object.entries(prompt)[0] ?? ['1', {}]
  const classType = isObject(node) ? node.class_type : 'CheckpointLoaderSimple'
  const reason = {
    type: 'value_not_in_list',
    message: 'Value not in list',
    details: "ckpt_name: 'model.safetensors' not in []",
    extra_info: { input_name: 'ckpt_name', input_config: [[], {}], received_value: 'model.safetensors' }
  }
  return {
    error: {
      type: 'prompt_outputs_failed_validation',
      message: 'Prompt outputs failed validation',
      details: '',
      extra_info: {}
    },
    node_errors: { [id]: { errors: [reason], dependent_outputs: [id], class_type: classType } }
  }
}
