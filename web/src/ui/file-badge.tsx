import { extension, kindOf } from '../format';
import { FileIcon } from './icons';

/** A small tile with the file's suffix, coloured by what sort of file it is. */
export function FileBadge({ name, type }: { name: string; type: string }) {
  return (
    <span class="badge" data-kind={kindOf(name, type)} aria-hidden="true">
      {extension(name) || <FileIcon />}
    </span>
  );
}
