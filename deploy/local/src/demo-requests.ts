import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import { root } from './root.ts'

/** One of the demo's twelve workflows. */
export type DemoRequest = { readonly name: string; readonly model: string; readonly body: GenerateRequest }

const scenes = [
  { name: 'lake', text: 'a mountain lake at dawn, mist over the water, pine forest, soft light' },
  { name: 'sailor', text: 'portrait of an old sailor with a white beard, warm window light, film grain' },
  { name: 'neon', text: 'a neon city street at night after rain, reflections, wide angle' },
  { name: 'desert', text: 'dunes of a red desert under two moons, long shadows, golden hour' }
]
const workflows = ['landscape', 'portrait', 'city']

/** Four scenes in three workflows, each with a model and seeds of its own. */
export const demoRequests = (): DemoRequest[] =>
  scenes.flatMap((scene, sceneIndex) =>
    workflows.map((workflow, workflowIndex) => ({
      ...fill(workflow, scene.text, 1000 * (sceneIndex + 1) + workflowIndex),
      name: scene.name
    }))
  )

type GraphNode = { class_type: string; inputs: Record<string, unknown> }

const fill = (workflow: string, text: string, seed: number) => {
  const body = JSON.parse(readFileSync(join(root, 'deploy/local/workflows', `${workflow}.json`), 'utf8'))
  const graph: Record<string, GraphNode> = body.prompt
  const sampler = graphNodeOf(graph, 'KSampler')
  const positive = graph[2] as GraphNode
  positive.inputs.text = text
  sampler.inputs.seed = seed
  return { model: String(graphNodeOf(graph, 'CheckpointLoaderSimple').inputs.ckpt_name), body: body as GenerateRequest }
}

const graphNodeOf = (graph: Record<string, GraphNode>, classType: string): GraphNode => {
  const found = Object.values(graph).find(one => one.class_type === classType)
  if (!found) throw new Error(`the workflow has no ${classType}`)
  return found
}
