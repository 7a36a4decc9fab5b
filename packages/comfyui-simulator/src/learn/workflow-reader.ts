import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isObject, type Json, type JsonObject, parsePythonJson } from '../json/python-json.ts'

/** Reads the API-format workflows of a folder, also those wrapped in `{"prompt": …}`. Other JSON files are left out. */
export function readWorkflows(directory: string): JsonObject[] {
  if (!existsSync(directory)) return []
  const workflows: JsonObject[] = []
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) workflows.push(...readWorkflows(path))
    if (!entry.isFile() || !entry.name.endsWith('.json')) continue
    const workflow = workflowIn(parsed(readFileSync(path, 'utf8')))
    if (workflow) workflows.push(workflow)
  }
  return workflows
}

function parsed(text: string): Json {
  try {
    return parsePythonJson(text)
  } catch {
    return null
  }
}

function workflowIn(value: Json): JsonObject | undefined {
  if (!isObject(value)) return undefined
  if (isObject(value.prompt)) return workflowIn(value.prompt)
  const nodes = Object.values(value).filter(node => isObject(node) && typeof node.class_type === 'string')
  return nodes.length > 0 ? value : undefined
}
