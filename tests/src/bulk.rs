//! Components of any size, made of functions that multiply: for what a compiler has to bear.

/// A component that exports nothing, of so many functions that multiply so many times.
#[must_use]
pub fn alone(functions: usize, multiplications: usize) -> Vec<u8> {
    beside(b"\0asm\x0d\0\x01\0", functions, multiplications)
}

/// A component with as many more functions in a module of their own, which nothing calls: what it does is unchanged.
#[must_use]
pub fn beside(component: &[u8], functions: usize, multiplications: usize) -> Vec<u8> {
    [component, &section(1, &module(functions, multiplications))].concat()
}

fn module(functions: usize, multiplications: usize) -> Vec<u8> {
    // One local i32; `local.get 0, local.get 0, i32.mul, local.set 0` again and again.
    let mut body = vec![1, 1, 0x7f];
    body.extend([0x20, 0, 0x20, 0, 0x6c, 0x21, 0].repeat(multiplications));
    body.push(0x0b);
    let body = [leb(body.len()), body].concat();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.extend(section(1, &[1, 0x60, 0, 0]));
    module.extend(section(3, &[leb(functions), vec![0; functions]].concat()));
    module.extend(section(10, &[leb(functions), body.repeat(functions)].concat()));
    module
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(content.len()), content.to_vec()].concat()
}

/// LEB128.
fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}
