import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DeviationName } from '../faults/deviation.ts'
import { createSimulator, type Simulator, type SimulatorOptions } from '../simulator.ts'
import type { Recording } from './recordings.ts'
import type { Target } from './replay.ts'

/** A simulator set up as the recorded server was, that can be killed and started again on the same port. */
export interface Stage extends Target {
  simulator(): Simulator
  isAlive(): boolean
  close(): Promise<void>
}

const timeScale = 0.4

/** The recorded server's model files: stand-ins of no bytes, so that lists are not empty and loading fails. */
const models = {
  checkpoints: { 'dummy-a.safetensors': 0, 'sub/dummy-b.safetensors': 0 },
  vae: Object.fromEntries(
    Array.from({ length: 24 }, (_, at) => [`dummy-${String(at).padStart(2, '0')}.safetensors`, 0])
  ),
  loras: {},
  embeddings: { 'dummy-emb.safetensors': 0 }
}

/** The recorded server lacked a package (see the recordings' README); only the `extra` one had the recorder's preview node. */
const missingClasses = ['UpscaleModelLoader', 'ImageUpscaleWithModel']

/** Starts a simulator for the scenarios of one recorded server. */
export async function openStage(server: Recording['server'], deviation?: DeviationName): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'comfyui-conformance-'))
  const setup: SimulatorOptions = {
    models,
    timeScale,
    missingClasses: server === 'extra' ? missingClasses : [...missingClasses, 'RecPreviewSteps'],
    outputDir: join(folder, 'output'),
    inputDir: join(folder, 'input'),
    ...(server === 'extra' ? { corsOrigin: '*', maxUploadMb: 1 } : {}),
    ...(deviation ? { deviation } : {})
  }
  let isAlive = false
  const create = (port: number) =>
    createSimulator({
      ...setup,
      port,
      onCrash: () => {
        isAlive = false
        void simulator.close()
      }
    })
  let simulator = create(0)
  await simulator.listen()
  isAlive = true
  const { port } = simulator
  return {
    port,
    simulator: () => simulator,
    isAlive: () => isAlive,
    kill: () => {
      isAlive = false
      return simulator.close()
    },
    start: async () => {
      simulator = create(port)
      await simulator.listen()
      isAlive = true
    },
    close: async () => {
      await simulator.close()
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
