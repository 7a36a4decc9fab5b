import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '@comfy-balancer/local/root'

/** Protections that can be taken out of the ledger's scripts; the rig must notice each. */
export const mutantNames = ['no-fence', 'blind-sweep', 'eternal-slot'] as const
export type MutantName = (typeof mutantNames)[number]

type Edit = { readonly file: string; readonly from: string; readonly to: string }

const fence = (file: string, from: string): Edit => ({ file, from, to: '' })

const edits: Readonly<Record<MutantName, readonly Edit[]>> = {
  'no-fence': [
    fence('complete.lua', "if t[2] ~= ARGV[2] then return 'stale' end\n"),
    fence('fail.lua', "if t[2] ~= ARGV[2] then return { 'stale' } end\n"),
    fence('output.lua', "if t[2] ~= ARGV[2] then return 'stale' end\n"),
    fence('start.lua', "if t[2] ~= ARGV[2] then return 'stale' end\n")
  ],
  'blind-sweep': [
    fence('ledger.lua', "if (t[1] ~= 'leased' and t[1] ~= 'running') or t[2] ~= token then return false end\n")
  ],
  'eternal-slot': [{ file: 'sweep.lua', from: 'local ended = due(K.slots)\n', to: 'local ended = {}\n' }]
}

/** Copies the ledger's scripts into `folder` without that protection. Throws when the text to take out is not there once. */
export const writeMutant = (mutant: MutantName, folder: string): string => {
  const scripts = join(folder, 'scripts')
  cpSync(join(root, 'packages/task-store/scripts'), scripts, { recursive: true })
  for (const { file, from, to } of edits[mutant]) {
    const text = readFileSync(join(scripts, file), 'utf8')
    if (text.split(from).length !== 2) {
      throw new Error(`the mutant ${mutant} does not fit ${file} any more: it should hold this line once:\n${from}`)
    }
    writeFileSync(
      join(scripts, file),
      text.replace(from, () => to)
    )
  }
  return scripts
}

/** Whether a text names a mutant. */
export const isMutantName = (text: string | undefined): text is MutantName => mutantNames.some(name => name === text)
