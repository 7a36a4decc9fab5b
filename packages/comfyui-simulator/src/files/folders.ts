import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, normalize, resolve, sep } from 'node:path'

/** The kinds of folder that hold pictures and other media. */
export type FolderType = 'output' | 'input' | 'temp'

/** Where the simulator keeps files. Folders not named are made in a fresh temporary place and removed at the end. */
export interface FolderOptions {
  outputDir?: string | undefined
  inputDir?: string | undefined
  tempDir?: string | undefined
}

/** The media folders. Every path they hand out lies inside its folder. */
export interface Folders {
  base: string
  of(type: FolderType): string
  /** The absolute path of a file in a folder, or undefined when it would lie outside. */
  inside(type: FolderType, ...parts: string[]): string | undefined
  /** Lets a name count as an input file although it is not on disk. */
  claim(name: string): void
  /** Names that were claimed. */
  claimed(): ReadonlySet<string>
  remove(): void
}

/** Creates the media folders on disk. */
export function createFolders(options: FolderOptions): Folders {
  const base = mkdtempSync(join(tmpdir(), 'comfyui-simulator-'))
  const paths: Record<FolderType, string> = {
    output: resolve(options.outputDir ?? join(base, 'output')),
    input: resolve(options.inputDir ?? join(base, 'input')),
    temp: resolve(options.tempDir ?? join(base, 'temp'))
  }
  for (const path of Object.values(paths)) mkdirSync(path, { recursive: true })
  const claimed = new Set<string>()

  return {
    base,
    of: type => paths[type],
    inside(type, ...parts) {
      const path = resolve(paths[type], normalize(parts.join(sep)).replace(/^[/\\]+/, ''))
      return path === paths[type] || path.startsWith(paths[type] + sep) ? path : undefined
    },
    claim: name => void claimed.add(name),
    claimed: () => claimed,
    remove: () => rmSync(base, { recursive: true, force: true })
  }
}

/** Whether a text names a media folder. */
export function isFolderType(text: string): text is FolderType {
  return text === 'output' || text === 'input' || text === 'temp'
}

/** Splits `name [output]` into the name and the folder it is annotated with. */
export function annotatedName(name: string): { name: string; type: FolderType | undefined } {
  const match = /^(.*?)\s?\[(output|input|temp)\]$/.exec(name)
  if (!match) return { name, type: undefined }
  return { name: match[1] as string, type: match[2] as FolderType }
}

/** The last part of a path in any spelling. */
export function fileNameOf(path: string): string {
  return basename(path)
}
